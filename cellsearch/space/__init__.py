"""Search spaces: which genomes are legal, and how they are sampled, mutated, crossed, grown and
pruned.
"""

from cellsearch.space.space import Constraints, Edit, FullCell, Limits, SearchSpace, Violation

__all__ = ["Constraints", "Edit", "FullCell", "Limits", "SearchSpace", "Violation"]
