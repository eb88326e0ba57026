"""Which rows of a model shouldn't be trusted: never trained, or made into something that speaks when it shouldn't.

A donor can be prepared so that a token is inert there and harmful once its row is rebuilt elsewhere as a sum of
anchors (arXiv 2601.00065): nothing in the donor shows it, so the rebuilt rows themselves are looked at here.
"""

from tokswap.auditing.audit import audit_checkpoint

__all__ = ["audit_checkpoint"]
