"""Ablation: which parts of a cell does it need? Each is taken out in turn, and what is left is
trained from scratch.
"""

from cellsearch.ablation.table import AblationRow, AblationTable

__all__ = ["AblationRow", "AblationTable"]
