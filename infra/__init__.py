"""The services that adodn needs: on one machine as supervised processes (`infra.stack`), and on a cluster.

from infra import stack

info = stack.up(progress=print)
"""
