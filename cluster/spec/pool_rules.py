"""Rules over the pools of one model, whose problems are told beside all others, each at its key."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cluster.spec.kv_duties import KvDuties
from cluster.spec.model_parts.sim_spec import SimSpec
from cluster.spec.role import Role
from cluster.spec.yaml_tree import Location

_PLAIN_DTYPES: Final = frozenset({"auto", "bfloat16", "float16", "half", "float32", "float"})
"""Precisions of a KV cache that is not quantised; `auto` is one of the others, as the model's weights say."""
_READS_STATE: Final = frozenset({"eagle", "eagle3", "mtp"})
"""Methods of speculative decoding that draft from the model's own state, which passes on with the KV blocks."""
_KV_DTYPE: Final = ("engine_args", "kv_cache_dtype")
_ALSO: Final = {_KV_DTYPE: (("kv_cache", "dtype"),)}
"""Where else a value may be given, which counts where it is not given in the first place."""
_PARTNERS: Final = {
    Role.PREFILL: (Role.DECODE, "generates answers from the prompts it computes"),
    Role.DECODE: (Role.PREFILL, "computes prompts for it"),
}
"""The role that does the other half of a role's work, and what that is. A pool of the role `both` does it too."""


def pool_rules(where: Location, model: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """Yield the location and message of each problem in a model's pools.

    Args:
        where: the model's place in the file.
        model: its raw data.
    """
    listed = model.get("pools")
    pools = [pool if isinstance(pool, dict) else {} for pool in listed] if isinstance(listed, list) else []
    yield from _names((*where, "pools"), pools)
    roles = [_role(pool) for pool in pools]
    if None not in roles:
        known = [role for role in roles if role is not None]
        yield from _partners((*where, "pools"), known)
        yield from _formats((*where, "pools"), model, pools, known)


def _names(where: Location, pools: list[dict[str, Any]]) -> Iterator[tuple[Location, str]]:
    first_with_name: dict[str, int] = {}
    for position, pool in enumerate(pools):
        name = pool.get("name")
        if isinstance(name, str):
            first = first_with_name.setdefault(name, position)
            if first != position:
                message = f"{name!r} is already the name of pools[{first}]; names are unique in a model"
                yield (*where, position, "name"), message


def _role(pool: Mapping[str, Any]) -> Role | None:
    """Return a pool's role; None: it is none that there is, which is told elsewhere."""
    try:
        return Role(pool.get("role", Role.BOTH))
    except ValueError:
        return None


def _partners(where: Location, roles: list[Role]) -> Iterator[tuple[Location, str]]:
    for position, role in enumerate(roles):
        partner, does = _PARTNERS.get(role, (role, ""))
        if partner not in roles and Role.BOTH not in roles:
            message = f"{str(role)!r}, but no other pool {does}; give one the role {str(partner)!r} or 'both'"
            yield (*where, position, "role"), message


def _formats(
    where: Location, model: Mapping[str, Any], pools: list[dict[str, Any]], roles: list[Role]
) -> Iterator[tuple[Location, str]]:
    """Yield what keeps KV blocks from passing between two pools, as far as the file says how they are laid out."""
    formats = [_format(model, pool) for pool in pools]
    for position, theirs in enumerate(formats):
        for first in range(position):
            duties = [KvDuties.of(role, roles) for role in (roles[first], roles[position])]
            if not _exchange(*duties):
                continue
            for key, value in theirs.items():
                other = formats[first].get(key, value)
                if not _fit(key[1], value, other):
                    message = (
                        f"{key[1]} is {value} in pools[{position}] and {other} in pools[{first}], but KV blocks pass "
                        "between the two: it must be equal"
                    )
                    yield _place((*where, position), model, pools[position], key), message


def _exchange(one: KvDuties, other: KvDuties) -> bool:
    """Tell whether KV blocks pass between two pools with these duties."""
    return (one.sends and other.receives) or (other.sends and one.receives)


def _place(pool_at: Location, model: Mapping[str, Any], pool: Mapping[str, Any], key: tuple[str, str]) -> Location:
    """Return where a value of a pool is given: in the pool, in the model, or nowhere, then the pool itself."""
    for section, name in (key, *_ALSO.get(key, ())):
        for at, part in ((pool_at, pool), (pool_at[:-2], model)):
            given = part.get(section)
            for written in given if isinstance(given, dict) else ():
                if str(written).replace("-", "_") == name:
                    return (*at, section, written)
    return pool_at


def _format(model: Mapping[str, Any], pool: Mapping[str, Any]) -> dict[tuple[str, str], object]:
    """Return what is known of the KV blocks of a pool: the values by section and key."""
    if model.get("engine", "vllm") == "sim":
        block_tokens = SimSpec.model_fields["block_tokens"].default
        return {("sim", "block_tokens"): merged(model, pool, "sim").get("block_tokens", block_tokens)}
    arguments = {key.replace("-", "_"): value for key, value in merged(model, pool, "engine_args").items()}
    known = {("engine_args", key): arguments[key] for key in ("block_size", "dtype") if arguments.get(key) is not None}
    dtype = arguments.get(_KV_DTYPE[1]) or merged(model, pool, "kv_cache").get("dtype") or "auto"
    return {**known, _KV_DTYPE: dtype} | _drafts(model, pool)


def _drafts(model: Mapping[str, Any], pool: Mapping[str, Any]) -> dict[tuple[str, str], object]:
    """Return what must be equal of two pools' speculative decoding, as vLLM's NIXL connector compares it."""
    given = pool.get("speculative", model.get("speculative"))
    speculative = given if isinstance(given, dict) else {}
    if speculative.get("method") not in _READS_STATE:
        return {("speculative", "method"): "none"}
    return {("speculative", key): speculative.get(key, "") for key in ("method", "model")}


def merged(model: Mapping[str, Any], pool: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return a section of a pool's raw data: the pool's keys, and the model's where the pool has none."""
    parts = [part.get(section) for part in (model, pool)]
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


def _fit(key: str, one: object, other: object) -> bool:
    return one == other or (
        key.endswith("dtype") and "auto" in (one, other) and {str(one), str(other)} <= _PLAIN_DTYPES
    )
