"""The forward passes in the dumps of SGLang's recorder, with their tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.importers.torch_zip import TorchFile
from rackmoe.routing.importers.values import field_of, is_count

__all__ = ["Dump", "Record", "records_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """An open dump and its name.

    Attributes
    ----------
    file : TorchFile
        The file.
    place : str
        Name for messages.
    """

    file: TorchFile
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One forward pass of one rank.

    Attributes
    ----------
    rank, forward_pass_id : int
        The rank and the number of the pass.
    fields : dict
        What was recorded.
    dump : Dump
        The file with its tensors.
    place : str
        Name for messages.
    """

    rank: int
    forward_pass_id: int
    fields: dict[Any, Any]
    dump: Dump
    place: str

    def array(self, name: str, *, n_axes: int) -> NDArray[np.int64]:
        """Return a recorded tensor.

        Parameters
        ----------
        name : str
            Its name.
        n_axes : int
            Axes that it must have.

        Returns
        -------
        ndarray of n_axes axes, integer
            The numbers.
        """
        tensor = field_of(self.fields, name=name, place=self.place)
        return self.dump.file.array(tensor, place=f"{self.place}: {name}", n_axes=n_axes)

    def integers(self, name: str) -> list[int]:
        """Return a recorded list of whole numbers.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        list of int
            The numbers.

        Raises
        ------
        TraceError
            If it is no such list.
        """
        values = field_of(self.fields, name=name, place=self.place)
        if not isinstance(values, list) or not all(map(is_count, values)):
            raise TraceError(
                f"{self.place}: {name}: not a list of whole numbers; expected one; "
                "check the version of the recorder"
            )
        return values


def records_of(dumps: Sequence[Dump], *, place: str) -> list[Record]:
    """Return the records of all dumps in the order of the passes.

    Parameters
    ----------
    dumps : sequence of Dump
        The files.
    place : str
        The folder, for the message.

    Returns
    -------
    list of Record
        By pass, then by rank.

    Raises
    ------
    TraceError
        If there is none, or they are no such records.
    """
    out = []
    for dump in dumps:
        records = field_of(dump.file.contents, name="records", place=dump.place)
        for number, fields in enumerate(records if isinstance(records, list) else []):
            at = f"{dump.place}: record {number}"
            rank = field_of(fields, name="rank", place=at)
            pass_id = field_of(fields, name="forward_pass_id", place=at)
            if not is_count(rank) or not is_count(pass_id):
                raise TraceError(
                    f"{at}: rank or forward_pass_id is no whole number; expected both; "
                    "check the version of the recorder"
                )
            out.append(
                Record(rank=rank, forward_pass_id=pass_id, fields=fields, dump=dump, place=at)
            )
    if not out:
        raise TraceError(f"{place}: no records; expected forward passes; recording was off")
    keys = [(one.rank, one.forward_pass_id, str(one.fields.get("gatherer_key"))) for one in out]
    if len(set(keys)) < len(keys):
        raise TraceError(
            f"{place}: passes recorded twice; expected each once per rank; "
            "keep one recording in the folder"
        )
    return sorted(out, key=lambda record: (record.forward_pass_id, record.rank))
