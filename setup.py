"""Only the one compiled module; everything else is in setup.cfg. Without a compiler the pure package is built."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "icvos._engine",
            ["icvos/_engine.c"],
            extra_compile_args=["-O3", "-std=c11"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
