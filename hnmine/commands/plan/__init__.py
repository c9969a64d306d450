"""`hnmine plan`: what a run would do, how much memory and disk it needs, and how long it takes on given machines."""
