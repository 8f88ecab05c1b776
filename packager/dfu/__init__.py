"""The host side of DfuSe: protocol, memory map, transport and the drop itself."""
