"""The tables and the figure of the paper: which runs they take, and how they are put together."""
