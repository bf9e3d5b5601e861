"""Certificates for tests of TLS, by the openssl program: authorities, and what they sign.

    authority = Authority(directory, "right")
    authority.file                                  its certificate (what sslrootcert names)
    certificate, key = authority.sign("db.test")    paths; expired=True: it ended yesterday
    put(pair, certificate, key)                     copies a pair over another one, as a rotation does
"""
import os
import shutil
import subprocess


def _openssl(*words):
    subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _new_openssl():
    """One that is told both ends of a certificate's time, and refuses an end before its beginning (3.4 and later)."""
    shown = subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True, check=False)
    return "-not_after" in shown.stderr + shown.stdout


class Authority:
    def __init__(self, directory, name="authority"):
        self.dir, self.name, self._count = directory, name, 0
        self.file, self._key = self._path("ca.pem"), self._path("ca.key")
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                 "-subj", f"/CN=spendd test {name}", "-keyout", self._key, "-out", self.file)
        os.chmod(self.file, 0o644)

    def _path(self, suffix):
        return os.path.join(self.dir, f"{self.name}-{suffix}")

    def sign(self, host, expired=False, owner=None, names=None):
        """owner: uid of the server that must be able to read the key.  names: other than DNS:host, as openssl has it."""
        self._count += 1
        stem = self._path(str(self._count))
        key, request, certificate, extensions = f"{stem}.key", f"{stem}.csr", f"{stem}.pem", f"{stem}.cnf"
        with open(extensions, "w", encoding="ascii") as file:
            file.write(f"subjectAltName={names or 'DNS:' + host}\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={host}",
                 "-keyout", key, "-out", request)
        words = ["x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key, "-set_serial", str(self._count),
                 "-extfile", extensions, "-out", certificate]
        if not expired:
            _openssl(*words, "-days", "30")
        elif _new_openssl():
            _openssl(*words, "-not_before", "20200101000000Z", "-not_after", "20200102000000Z")
        else:
            _openssl(*words, "-days", "-1")
        os.chmod(certificate, 0o644)
        if owner is not None:
            os.chown(key, owner, owner)
        os.chmod(key, 0o600)
        return certificate, key


def put(pair, certificate, key):
    for source, target in zip(pair, (certificate, key)):
        shutil.copy(source, target + ".new")
        os.replace(target + ".new", target)
