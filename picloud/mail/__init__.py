"""Mail in and out, as far as it knows no SQL.

``addresses``        one mailbox, read strictly: recipients of scripts, ``PICLOUD_MAIL_FROM``
``decoding``         the bytes and headers of a mail into text, whatever they claim to be
``inbound_message``  a received mail into the JSON of ``ctx.event``, within bounds
``bind``             where the listener listens: ``PICLOUD_SMTP_BIND``
``peers``            who connects how often: a token bucket for each address
``connection``       one SMTP or LMTP conversation, on aiosmtpd
``listener``         the doors, the limits, and the stop; ``250`` is said after the commit
``outgoing``         a mail of a script: checked when made, stored as JSON, composed when sent
``transport``        hands a composed mail to the server of ``PICLOUD_SMTP_URL``
``errors``           what sending may come to

Where an address leads and how a row is written is handed in as functions.
"""
