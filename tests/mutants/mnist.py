"""Mutants of the MNIST experiment: rows are the fields of a Mutant."""

from tests.mutants import Mutant

_TOY, _MNIST = "tests/subliminal_toy/", "tests/subliminal_toy/mnist/"
_LINE, _RUN = f"{_MNIST}test_straight_line.py", "tests/experiments/test_mnist_aux_logits.py"
_MECHANISM = "tests/experiments/studies/test_mnist_mechanism.py"
TESTS: dict[str, str] = {  # source file -> the test files that should notice its bugs
    (_PROTOCOL := "subliminal_toy/mnist/protocol.py"): _LINE,
    (_STUDENTS := "subliminal_toy/mnist/students.py"): _LINE,
    (_MEASURE := "subliminal_toy/mnist/measure.py"): _LINE,
    (_DATA := "subliminal_toy/mnist/data.py"): f"{_MNIST}test_data.py",
    (_LOSSES := "subliminal_toy/mnist/losses.py"): f"{_MNIST}test_losses.py {_LINE}",
    (_MODELS := "subliminal_toy/mnist/models.py"): f"{_MNIST}test_models.py",
    (_NOISE := "subliminal_toy/mnist/noise.py"): f"{_MNIST}test_noise.py",
    (_ENGINE := "subliminal_toy/engine.py"): f"{_TOY}test_engine.py {_LINE}",
    (_TRAINING := "subliminal_toy/training.py"): f"{_TOY}test_training.py",
    (_CONFIG := "subliminal_toy/settings.py"): f"{_TOY}test_config.py",
    (_STATISTICS := "subliminal_toy/statistics.py"): f"{_TOY}test_statistics.py",
    (_EXPERIMENT := "experiments/mnist_aux_logits.py"): _RUN,
    (_RUNS := "experiments/mnist/runs.py"): f"{_RUN} {_LINE}",
    (_CHUNKS := "experiments/harness/chunks.py"): f"{_RUN} tests/experiments/test_files.py",
    (
        _PARTS := "experiments/studies/mnist_mechanism/interventions.py"
    ): "tests/experiments/studies/test_interventions.py",
    (_ARMS := "experiments/studies/mnist_mechanism/arms.py"): _MECHANISM,
    (_SHOWN := "experiments/studies/mnist_mechanism/coverage.py"): _MECHANISM,
}
_TABLE: tuple[tuple[str, ...], ...] = (
    # who is trained on what
    (
        "teacher-trained-on-aux-logits",
        _PROTOCOL,
        "(np.arange(config.logits) < config.classes)[None]",
        "np.ones((1, config.logits), bool)",
    ),
    ("labels-shifted", _PROTOCOL, "[dataset.train_labels]", "[(dataset.train_labels + 1) % config.classes]"),
    (
        "aux-mask-off-by-one",
        _STUDENTS,
        "np.arange(config.logits) >= config.classes",
        "np.arange(config.logits) > config.classes",
    ),
    (
        "cross-model-shares-the-init",
        _STUDENTS,
        'params = reference if condition.init == "reference" else other',
        "params = reference",
    ),
    (
        "own-settings-ignored",
        _STUDENTS,
        "return with_settings(config, dict(self.settings))",
        "return config",
        f"{_MNIST}test_protocol.py",
        "of_its_own",
    ),
    (
        "students-imitate-the-reference",
        _STUDENTS,
        "label(networks, networks.teacher, images)",
        "label(networks, networks.reference, images)",
    ),
    (
        "shuffled-are-not",
        _STUDENTS,
        "jax.random.permutation(key, from_teacher(networks, images, key), axis=0)",
        "from_teacher(networks, images, key)",
    ),
    ("temperature-ignored", _STUDENTS, "np.array([one.temperature for", "np.array([1.0 for"),
    (
        "students-trained-as-teachers",
        _STUDENTS,
        "dataclasses.replace(config.student, **numbers)",
        "dataclasses.replace(config.teacher, **numbers)",
    ),
    (
        "learning-rate-as-data-is-the-configs",
        _STUDENTS,
        "np.array([getattr(one.student, name) for one in configs]",
        "np.array([getattr(config.student, name) for one in configs]",
        f"{_MNIST}test_protocol.py",
        "of_its_own",
    ),
    ("students-shuffled-as-teachers", _PROTOCOL, "rows, given.keys.student_order)", "rows, given.keys.teacher_order)"),
    (
        "what-is-removed-is-kept",
        _PARTS,
        "jax.tree.map(jnp.subtract, updates, part(updates, params, inputs, trait))",
        "part(updates, params, inputs, trait)",
    ),
    ("linear-about-where-it-is", _PARTS, '(inputs["anchor"],), (displacement,))', "(params,), (displacement,))"),
    ("off-by-one-student", _PROTOCOL, "self.names().index(name) - 2", "self.names().index(name) - 3"),
    # keys
    ("reference-from-the-other-key", _PROTOCOL, "stages.reference(keys.reference)", "stages.reference(keys.other)"),
    ("teacher-order-key", _PROTOCOL, "class_mask, keys.teacher_order)", "class_mask, keys.student_order)"),
    ("noise-key", _PROTOCOL, 'real["images"], keys.noise)', 'real["images"], keys.student_order)'),
    # what is measured
    (
        "accuracy-on-training-images",
        _MEASURE,
        "(dataset.test_images, dataset.test_labels)",
        "(dataset.train_images, dataset.train_labels)",
    ),
    # losses
    ("kl-reversed", _LOSSES, "jnp.exp(log_p), 0.0)", "jnp.exp(log_q), 0.0)"),
    ("kl-forgets-a-temperature", _LOSSES, "return temperature**2 *", "return temperature *"),
    ("mse-over-all-logits", _LOSSES, "/ jnp.sum(mask)", "/ mask.size"),
    ("masked-logits-count-as-0", _LOSSES, "jnp.where(mask, logits, -jnp.inf)", "jnp.where(mask, logits, 0.0)"),
    ("accuracy-sees-one-aux-logit", _LOSSES, "logits[..., :classes]", "logits[..., : classes + 1]"),
    # the engine
    ("same-order-every-epoch", _ENGINE, "jax.random.fold_in(key, i), n)", "key, n)"),
    ("remainder-dropped", _ENGINE, "        if rest:\n", "        if rest < 0:\n"),
    ("seed-ignored", _ENGINE, "jax.random.key(seed)", "jax.random.key(0)"),
    ("keys-by-position", _ENGINE, "jnp.asarray(runs, jnp.uint32)", "jnp.arange(len(runs), dtype=jnp.uint32)"),
    # noise
    ("uniform-from-0", _NOISE, "minval=-1.0", "minval=0.0"),
    ("mix-fraction-inverted", _NOISE, "n_real = round(real_fraction * n)", "n_real = round((1 - real_fraction) * n)"),
    # models
    ("init-scale-not-squared", _MODELS, "variance * self.init_scale**2", "variance * self.init_scale"),
    (
        "heads-swapped",
        _MODELS,
        '"class_head" in shared, "aux_head" in shared',
        '"aux_head" in shared, "class_head" in shared',
    ),
    # optimizers
    ("decay-orders-swapped", _TRAINING, 'training.decay == "coupled"', 'training.decay == "decoupled"'),
    ("warm-up-not-counted", _TRAINING, "training.batch_size) - warmup, 1)", "training.batch_size), 1)"),
    # config
    ("default-learning-rate", _CONFIG, "setting(3e-4,", "setting(1e-3,"),
    # statistics
    ("interval-of-90-percent", _STATISTICS, "0.975) *", "0.95) *"),
    ("biased-variance", _STATISTICS, "ddof=1", "ddof=0"),
    (
        "difference-reversed",
        _STATISTICS,
        "np.asarray(first, np.float64) - np.asarray(second, np.float64)",
        "np.asarray(second) - np.asarray(first)",
    ),
    # data
    ("pixels-by-128", _DATA, "/ 127.5", "/ 128"),
    (
        "splits-swapped",
        _DATA,
        "train_images, train_labels, test_images, test_labels = (",
        "test_images, test_labels, train_images, train_labels = (",
    ),
    ("digits-tested-on-training-images", _DATA, "slice(DIGITS_TEST, None), slice", "slice(None), slice"),
    (
        "validated-on-training-images",
        _DATA,
        "test_images=images[cut:], test_labels=labels[cut:]",
        "test_images=images[:cut], test_labels=labels[:cut]",
    ),
    # the experiment
    ("padding-runs-kept", _RUNS, "np.asarray(column)[: chunk.count]", "np.asarray(column)"),
    ("chunks-all-start-at-0", _CHUNKS, "engine.fill_devices(self.first,", "engine.fill_devices(0,"),
    ("all-logits-against-the-aux-control", _EXPERIMENT, '("student_all", "cross_all")', '("student_all", "cross_aux")'),
    # its measurements and rows
    ("ray-from-the-teacher", _ARMS, "_plus(trained.reference, delta, s)", "_plus(trained.teacher, delta, s)"),
    ("cosine-of-one-layer-alone", _ARMS, "gram.sum(axis=-1, keepdims=True)", "gram[..., :1]"),
    ("predicted-with-class-logits", _SHOWN, "range(config.classes, config.logits)", "range(config.logits)"),
)
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
