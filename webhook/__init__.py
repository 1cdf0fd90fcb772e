"""The mutating admission webhook of vramshare."""
