"""kernels.cuda with NumPy arrays in and out, so that the tests of the other backends are its tests too."""

import numpy as np

from kernels.lattice import Lattice

IN_PLACE = {
    "update_running": (0, 1),
    "sgd_update": (0, 1),
    "mean_field_update": (4,),
    "flatten": (1,),
}  # arguments that are changed


class Hosted:
    """The functions of a backend; arrays go to its device and results come back."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        function = getattr(self.backend, name)

        def call(*args, **kwargs):
            moved = [self.to_device(a) for a in args]
            result = function(*moved, **{key: self.to_device(a) for key, a in kwargs.items()})
            for host, device in ((args[i], moved[i]) for i in IN_PLACE.get(name, ()) if i < len(args)):
                for h, d in zip(host, device, strict=True) if isinstance(host, list) else [(host, device)]:
                    h[...] = self.to_host(d)
            return self.to_host(result)

        call.__name__ = name
        return call

    def to_device(self, a):
        if isinstance(a, Lattice):
            return Lattice(*map(self.to_device, a))
        if isinstance(a, (list, tuple)) and any(isinstance(each, (np.ndarray, Lattice)) for each in a):
            return type(a)([self.to_device(each) for each in a])
        return self.backend.from_numpy(a) if isinstance(a, np.ndarray) else a

    def to_host(self, a):
        if isinstance(a, Lattice):
            return Lattice(*map(self.to_host, a))
        if isinstance(a, (list, tuple)):
            return type(a)(self.to_host(each) for each in a)
        return self.backend.to_numpy(a) if getattr(type(a), "device", "") == "cuda" else a
