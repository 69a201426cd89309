"""The foundation models' costly sums on the CPU, in forms that run faster there."""
