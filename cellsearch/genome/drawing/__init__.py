"""Genomes as pictures and in other notations: SVG, Graphviz, Mermaid, LaTeX."""
