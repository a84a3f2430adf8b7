"""Live shells: held by the shell process, recorded first and shown after, relayed by web.

`recorder`, `terminal`: what is kept, and what is read out of it. `lines`: the ways into a machine. `live`: one shell.
`holder`: the process. `wire`, `tickets`: how a socket of web comes to it.
"""
