"""Edits as jobs of a server: what the web page and the HTTP service share.

settings    what is asked for, checked
store       jobs on disk, which outlive the server
estimate    how long the stages of an edit take
queue       one worker a device, places and expected times
work        one job: photograph in, pictures and report out
clips       the same for a clip
limits      how large, and how often
context     all of these together, as the page and the service use them
intake      what is sent becomes a job, or leaves nothing behind

The HTTP service around them: `server` puts it together, `guard` stands before everything, `api` has
the endpoints, `views` what they return, `multipart` receives a form, `refusals` says no, and
`documents` describes it all.
"""
