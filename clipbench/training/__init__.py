"""Training the bundled CLIP, and watching any training.

The bundled CLIP is in ``clip/``. ``train`` sets a training up from its ``options``, or resumes it, and has the loop.
``batches`` finds the data, orders and loads them. ``step`` runs the towers and moves the weights by the gradients of
the losses, in one process or several (``distributed``).

For any loop: ``monitor`` measures a model on the way (``scalars``), ``log`` writes events, ``history`` reads them. None
of these imports torch before a model is measured.
"""
