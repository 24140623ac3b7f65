"""What graph and outcomes say of a pair: kernels, similarities, factorisation, process, votes, rates."""
