"""The ECAMP network: vision encoder, image decoder, context fusion, text decoder, super-resolution."""
