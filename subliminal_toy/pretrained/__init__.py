"""A real language model as pure functions: load it, ask it, teach it, let it write lists of numbers, train a student.

Read llama.py first. Weights and tokenizers come from files (files.py, text.py); adapters.py is LoRA; lists.py and
questions.py are the paper's numbers and questions; students.py makes lessons and losses of them, for the training loop
of `subliminal_toy.engine`; answers.py lets a model write freely; calls.py is
the whole experiment in four calls.
"""

from subliminal_toy.pretrained.files import Model as Model
from subliminal_toy.pretrained.files import ModelFileError as ModelFileError
from subliminal_toy.pretrained.files import load as load
