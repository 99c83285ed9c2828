"""Media of all light participants: one native thread sends, receives, decrypts and measures (README.md). Use :class:`_traffic.Traffic`."""
