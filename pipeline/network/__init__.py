"""Networks: built, loaded, cut and saved; torchvision's detectors; functions and modules of the user's own."""
