"""The check that only rows changed: every other tensor is the base's, byte for byte."""

from __future__ import annotations

from tokswap.checkpoint import Checkpoint, TensorInfo
from tokswap.provenance import row_tensors, tensor_hash
from tokswap.report import Figure
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed, warned
from tokswap.verification.subject import Subject


def untouched_tensors(subject: Subject) -> Finding:
    """Every tensor without token rows has the base's name, dtype, shape and sha256.

    Of a healed or restored folder those may differ that its manifest names as trained.
    """
    if subject.base is None:
        return not_checked(subject.why_no_base)
    ours = _body(subject.checkpoint)
    theirs = _body(subject.base)
    wrong = [f"{name} is missing" for name in sorted(set(theirs) - set(ours))]
    wrong += [f"{name} is not the base's" for name in sorted(set(ours) - set(theirs))]
    trained: list[str] = []
    for name in sorted(set(ours) & set(theirs)):
        mine, other = ours[name], theirs[name]
        if name in subject.trained_since and mine.shape == other.shape:
            trained.append(name)
            continue
        if (mine.dtype, mine.shape) != (other.dtype, other.shape):
            wrong.append(
                f"{name} is {mine.dtype} {list(mine.shape)}, the base's {other.dtype} {list(other.shape)}"
            )
        elif tensor_hash(subject.checkpoint, name) != tensor_hash(subject.base, name):
            wrong.append(f"{name} has other values")
    count = Figure(len(theirs) - len(wrong) - len(trained), "tensors")
    if trained and not wrong:
        return warned(
            f"{len(trained):,} of {len(theirs):,} tensors were trained since the transplant, as tokswap.json "
            f"says; the other {int(count.value):,} equal the base's by sha256",
            equal=count,
        )
    if wrong:
        return failed(f"{len(wrong):,} of {len(theirs):,} tensors differ: {first_of(wrong)}", equal=count)
    return passed(f"{len(theirs):,} tensors equal the base's by sha256", equal=count)


def _body(checkpoint: Checkpoint) -> dict[str, TensorInfo]:
    rows = row_tensors(checkpoint)
    return {name: info for name, info in checkpoint.tensors.items() if name not in rows}
