"""Flow control: which request goes to a replica now, which waits in the gateway, which is refused. Pure.

One `admission.Admission` for each model of a gateway process. See `slots` for when a replica has room, `classes` and
`fair_queue` for who is next, `limits` for the bounds.
"""
