"""The mail process: takes mail in for the apps, and answers ``250`` when its rows are committed.

``line``       a connection to PostgreSQL that outlives PostgreSQL
``reception``  where an address leads, and the rows of a mail
``waker``      tells a relay that there is work
``service``    the process: start, stop, and what it needs from the settings

What is said on the wire is ``picloud.mail``'s business.
"""
