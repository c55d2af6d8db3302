"""Small runs whose steps are mostly exchanges, so that the network decides."""

from strategies import Case, Shape, build

from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.simulation import Simulation
from rackmoe.scenario.workload import Routing
from rackmoe.simulation import simulate

EXCHANGE_PARTS = ["dispatch_s", "dispatch_wait_s", "combine_s", "combine_wait_s"]
PORT_GB_PER_S = {"gb200_nvl72": 9.0, "hgx_h200": 4.5}


def case(hardware, n_gpus, *, two_batch=False, **values):
    up = PORT_GB_PER_S[hardware]
    return Case(
        **{
            "hardware": hardware,
            "pools": (Shape(attention_dp=n_gpus, ep=n_gpus, two_batch_overlap=two_batch),),
            "max_batch": 64,
            "max_tokens": 4096,
            "lengths": (64, 6),
            "requests": 48 * n_gpus,
            "overrides": (
                ("scale_up.link_bandwidth", f"{up / 18} GB/s"),
                ("scale_up.gpu_bandwidth", f"{up} GB/s"),
            ),
            **values,
        }
    )


def exchange_s(result):
    """Time of all steps in exchanges, mean over the ranks."""
    return float(result.to_frame("steps")[EXCHANGE_PARTS].to_numpy().sum())


def run(made, folder, *, source=None, **simulation):
    scenario = build(made, folder)
    workload = scenario.document.workload
    if source is not None:
        routing = Routing(generator="deepseek_chat", source=source, tokens=1024)
        workload = workload.model_copy(update={"routing": routing})
    document = scenario.document.model_copy(
        update={"simulation": Simulation(**simulation), "workload": workload}
    )
    return simulate(resolve_scenario(document, name="case"), seed=0)
