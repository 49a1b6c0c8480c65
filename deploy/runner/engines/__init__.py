"""From a bundle to engines that are known to be its: read and verified, built, stamped, tried on the samples."""
