"""What a trained cell does with time: gradients over distance, memory, gates, the Jacobian of a
step, loss over position.

:func:`diagnose` measures all of it for one trained model; each measure is a function of its own in
a file of its own. Everything is computed in float64 with the reference backend, so that gradients
of 1e-30 are gradients and not zeros.
"""

from cellsearch.diagnostics.diagnosis import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
