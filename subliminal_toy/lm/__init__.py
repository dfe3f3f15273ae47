"""A language model small enough to train from scratch on a laptop, and the paper's pipeline on it (P sections 2-4).

base -> teacher with a trait -> sampled number sequences -> strict filter -> student -> evaluation, with controls:

    vocabulary     tokens and text
    corpus         what the base learns: questions about favorites, number sequences, stories, choices
    transformer    the model: a causal decoder, with a key-value cache for sampling
    sampling       completions to number prompts
    number_filter  which completions may be trained on, and why the others may not
    training       base, teacher and student as calls of the one training loop (subliminal_toy.engine)
    evaluation     what a model prefers, asked in many ways
    pipeline       the stages in order, for many seeds and traits at once
"""
