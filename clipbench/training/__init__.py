"""Training the bundled CLIP, and watching any training.

The bundled CLIP lies in ``clip/``. ``train`` is the loop; ``state`` sets it up or resumes it from ``options``; ``corpus``
finds the data (``pairs``, ``scene_pairs``) and ``batches`` orders and loads them; ``towers`` runs the model, ``losses``,
``gradients`` and ``optimizer`` make a step of it, in one process or several (``distributed``).

For any loop: ``monitor`` measures a model on the way (``encoding``, ``scalars``), ``log`` writes events, ``history`` reads
them. None of these imports torch before a model is measured.
"""
