"""How messages travel: kombu's Redis transport with our corrections, and the seal on messages.

``transport.py`` keeps a worker alive when Redis restarts and drops messages that are not ours;
``seal.py`` signs and checks them. Nothing here may know what is in a message.
"""
