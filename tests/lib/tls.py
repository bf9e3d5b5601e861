"""Certificates for tests: an authority of the test's own, made with the openssl program."""
import os
import shutil
import subprocess


def _openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


class Pair:
    """A certificate and its key, in files."""

    def __init__(self, cert, key):
        self.cert, self.key = cert, key


class Authority:
    """Signs certificates.  directory: of its own."""

    KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

    def __init__(self, directory):
        self.dir = directory
        self.cert, self.key = self._path("ca.crt"), self._path("ca.key")
        _openssl("req", "-x509", *self.KEY, "-keyout", self.key, "-out", self.cert, "-days", "30", "-subj", "/CN=ca")

    def _path(self, name):
        return os.path.join(self.dir, name)

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1", days=30):
        """A pair for these names; days=-1: it expired yesterday."""
        pair = Pair(self._path(f"{name}.crt"), self._path(f"{name}.key"))
        request, extensions = self._path(f"{name}.csr"), self._path(f"{name}.ext")
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names}\n")
        _openssl("req", *self.KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
        _openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
                 "-days", str(days), "-extfile", extensions, "-out", pair.cert)
        return pair


def put(pair, cert, key):
    """Puts a pair where somebody reads it, as a rotation does."""
    for source, target in ((pair.cert, cert), (pair.key, key)):
        shutil.copy(source, target + ".new")
        os.replace(target + ".new", target)
