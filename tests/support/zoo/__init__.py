"""Independent implementations of the zoo: equations in numpy, and peers from other packages."""
