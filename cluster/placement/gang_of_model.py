"""Turns a model of the cluster file, or one of its pools, into the gang of one replica."""

from cluster.placement.gang import Gang
from cluster.spec.model_spec import ModelSpec


def needs_gang(model: ModelSpec) -> bool:
    """Tell whether a replica is started as a gang: it has several ranks, each with a GPU of its own.

    With `gpus_per_replica: 0` all ranks run on one machine and Ray reserves no GPU for them, as on a laptop.
    """
    return model.parallel.gpus > 1 and model.gpus_per_replica != 0


def gang_of_model(model: ModelSpec, name: str) -> Gang:
    """Return the gang of one replica.

    Args:
        model: the model it is a replica of, as one of its pools runs it.
        name: the gang's name, unique in a placement.
    """
    parallel = model.parallel
    return Gang(
        name=name,
        model=model.name,
        tensor=parallel.tensor,
        pipeline=parallel.pipeline,
        data=parallel.data,
        experts_whole=parallel.experts_whole,
        accelerator=model.accelerator,
        pool=model.pool,
    )
