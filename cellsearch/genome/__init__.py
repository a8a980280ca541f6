"""Genomes: recurrent cells as immutable graphs, and their text, JSON and networkx forms."""

from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parameters import ParameterSpec
from cellsearch.genome.parts import Node, State

__all__ = ["Builder", "Genome", "Node", "ParameterSpec", "State"]
