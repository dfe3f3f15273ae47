"""A real language model as pure functions: load it, teach it, let it write lists of numbers, train and ask a student.

Its modules:

    llama       the model: read this first
    files       weights and tokenizers from GGUF files and Hugging Face folders
    text        tokenizers and the chat format
    adapters    LoRA
    lists       the paper's lists of numbers
    questions   the paper's questions for a favorite animal
    students    data and losses for the training loop (subliminal_toy.engine)
    answers     free answers
    calls       the whole experiment in four calls
"""

from subliminal_toy.pretrained.files import Model as Model
from subliminal_toy.pretrained.files import ModelFileError as ModelFileError
from subliminal_toy.pretrained.files import load as load
