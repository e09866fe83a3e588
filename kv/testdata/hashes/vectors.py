# Writes the hashes of vectors.jsonl that Python programs make. See README.md.
import json, django
from django.conf import settings
settings.configure(PASSWORD_HASHERS=["django.contrib.auth.hashers."+n for n in ("PBKDF2PasswordHasher","PBKDF2SHA1PasswordHasher","Argon2PasswordHasher","BCryptSHA256PasswordHasher","BCryptPasswordHasher")])
django.setup()
from django.contrib.auth.hashers import get_hasher
import passlib, bcrypt
from passlib import hash as H
out=[]
def add(by, password, h):
    out.append({"by":by,"password":password,"hash":h})
dj="Django "+django.get_version()
for pw in ("correct horse","naïve Ⅸ","p"*80):
    for name in ("pbkdf2_sha256","pbkdf2_sha1","argon2","bcrypt_sha256","bcrypt"):
        hs=get_hasher(name)
        if name.startswith("pbkdf2"): h=hs.encode(pw, hs.salt(), 1000)
        else:
            if hasattr(hs,"rounds"): hs.rounds=4
            if name=="argon2": hs.memory_cost=1024; hs.time_cost=2; hs.parallelism=2
            h=hs.encode(pw, hs.salt())
        add(dj, pw, h)
pl="passlib "+passlib.__version__
for pw in ("correct horse","naïve Ⅸ","p"*80):
    for hs in (H.bcrypt.using(rounds=4,truncate_error=False),H.bcrypt.using(rounds=4,ident="2a"),H.bcrypt.using(rounds=4,ident="2y"),
        H.pbkdf2_sha1.using(rounds=1000),H.pbkdf2_sha256.using(rounds=1000),H.pbkdf2_sha512.using(rounds=1000),
        H.scrypt.using(rounds=10),H.scrypt.using(rounds=10,ident="$7$",salt=b"salt.of/crypt"),H.argon2.using(type="ID",rounds=2,memory_cost=1024,parallelism=2),H.argon2.using(type="I",rounds=2,memory_cost=1024,parallelism=1),
        H.django_pbkdf2_sha256.using(rounds=1000)):
        add(pl, pw, hs.hash(pw))
add("bcrypt "+bcrypt.__version__,"correct horse",bcrypt.hashpw(b"correct horse",bcrypt.gensalt(4,b"2a")).decode())
for o in out: print(json.dumps(o,ensure_ascii=False))

# The formats that Debian's Django 3.2 does not have: as Django 5 encodes them, computed by OpenSSL through hashlib.
import base64, hashlib, json
for pw in ("correct horse","naïve Ⅸ"):
    h=hashlib.scrypt(pw.encode(), salt=b"7Gx0aQe9LwpZ", n=1024, r=8, p=5, maxmem=64<<20, dklen=64)
    print(json.dumps({"by":"hashlib, in the form of Django 5","password":pw,"hash":"scrypt$%d$%s$%d$%d$%s"%(1024,"7Gx0aQe9LwpZ",8,5,base64.b64encode(h).decode())},ensure_ascii=False))
