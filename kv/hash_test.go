package kv

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

// vector is a password and a hash of it that another program computed.
type vector struct{ By, Password, Hash string }

// vectors returns the hashes of testdata/hashes, whose README tells how they were made.
func vectors(t *testing.T) (all []vector) {
	t.Helper()
	f, err := os.Open("testdata/hashes/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	if len(all) < 55 {
		t.Fatalf("%d hashes", len(all))
	}
	return all
}

// TestHashesOfOthers verifies hashes that Django, passlib, bcrypt, Spring Security and SCRAM servers computed: the right
// password is right and must be hashed again, and others are wrong.
func TestHashesOfOthers(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.By+" "+v.Hash, func(t *testing.T) {
			h := NewHasher(quick)
			if err := h.CheckHash(v.Hash); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time from memory
				if got, err := h.Verify(t.Context(), v.Hash, v.Password); err != nil || got != (Verdict{OK: true, Stale: true}) {
					t.Errorf("Verify of the right password = %+v, %v", got, err)
				}
			}
			for _, wrong := range []string{"x" + v.Password, strings.ToUpper(v.Password)} {
				if got, err := h.Verify(t.Context(), v.Hash, wrong); err != nil || got.OK {
					t.Errorf("Verify of %q = %+v, %v", wrong, got, err)
				}
			}
		})
	}
}

// TestCutHashes cuts hashes off, as a column of a database that is too narrow does.
func TestCutHashes(t *testing.T) {
	t.Parallel()
	own := quickPHC(t).params
	for _, v := range vectors(t) {
		if strings.Contains(v.Hash, "argon2") { // its keys may have any size
			continue
		}
		for n := range 5 {
			if _, err := parseHash(v.Hash[:len(v.Hash)-n], own); (err == nil) != (n == 0) {
				t.Errorf("%s without its last %d bytes: %v", v.Hash, n, err)
			}
		}
	}
}

// TestHashesRefused: hashes that cost too much, or that are not well-formed, are refused, and the error says why without the
// hash.
func TestHashesRefused(t *testing.T) {
	t.Parallel()
	h := NewHasher(quick)
	const salt, key = "c2FsdHNhbHRzYWx0", "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2U="
	raw := strings.TrimRight(key, "=")
	for hash, why := range map[string]string{
		"hunter2":                               "unknown format",
		"{noop}hunter2":                         "unknown format",
		"{MD5}5f4dcc3b5aa765d61d8327deb882cf99": "unknown format",
		"5f4dcc3b5aa765d61d8327deb882cf99":      "unknown format",
		"$1$hunter2$x":                          "unknown format",
		"$2a$15$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG": "cost 15, the maximum is 14",
		"$2a$31$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG": "maximum",
		"$2a$03$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG": "invalid cost",
		"$2a$+9$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG": "invalid cost",
		"$2x$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG": "version",
		"$2a$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/B":  "60 characters",
		"$2a$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/B!": "invalid key",
		"pbkdf2_sha256$2000001$" + salt + "$" + key:                    "maximum",
		"pbkdf2_sha256$99999999999999999999$" + salt + "$" + key:       "number",
		"pbkdf2_sha256$0$" + salt + "$" + key:                          "number",
		"pbkdf2_sha256$-5$" + salt + "$" + key:                         "number",
		"pbkdf2_sha256$1000$" + salt + "$" + "c2hvcnQ=":                "a key of 5 bytes",
		"pbkdf2_sha256$1000$$" + key:                                   "a salt of 0 bytes",
		"pbkdf2_sha256$1000$" + salt:                                   "without",
		"$pbkdf2-sha256$1000$" + salt + "$" + key:                      "invalid salt or key",
		"{pbkdf2}" + strings.Repeat("ab", 41):                          "hexadecimal",
		"$scrypt$ln=17,r=8,p=1$" + salt + "$" + raw:                    "128 MiB, the maximum is 64",
		"$scrypt$ln=16,r=8,p=5$" + salt + "$" + raw:                    "more than this server computes",
		"$scrypt$ln=40,r=8,p=1$" + salt + "$" + raw:                    "invalid parameters",
		"$scrypt$ln=04,r=8,p=1$" + salt + "$" + raw:                    "invalid parameters",
		"scrypt$1000$salt$8$1$" + key:                                  "invalid parameters",
		"scrypt$1073741824$salt$8$1$" + key:                            "maximum",
		"{scrypt}$1f0801$" + salt + "$" + key:                          "invalid parameters",
		"SCRAM-SHA-1$4096:" + salt + "$" + key + ":" + key:             "20 bytes",
		"SCRAM-SHA-256$9999999:" + salt + "$" + key + ":" + key:        "maximum",
		"SCRAM-SHA-256$4096:" + salt + "$" + key:                       "without",
		"SCRAM-SHA-256$4096:!$" + key + ":" + key:                      "invalid salt or key",
		strings.Repeat("$", 2000):                                      "longer than",
	} {
		err := h.CheckHash(hash)
		if !errors.Is(err, ErrHashUnusable) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60s: got %v, want %q", hash, err, why)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), salt) || strings.Contains(err.Error(), raw)) {
			t.Errorf("the error shows the hash: %v", err)
		}
	}
	if err := NewHasher(HasherOptions{MemoryKiB: 128 << 10, Passes: 1}).CheckHash("$scrypt$ln=17,r=8,p=1$" + salt + "$" + raw); err != nil {
		t.Errorf("with 128 MiB for own hashes: %v", err)
	}
}

// TestSASLprep: SCRAM hashes the prepared password. Servers that hash it as it is exist too.
func TestSASLprep(t *testing.T) {
	t.Parallel()
	h := NewHasher(quick)
	made := func(password string) string {
		s := SCRAM{Iterations: 10, Salt: []byte("saltsalt")}
		s.StoredKey, s.ServerKey = s.keys(sha256Rounds, password)
		return s.String()
	}
	for _, test := range []struct {
		hashed, typed string
		ok            bool
	}{
		{"IX", "Ⅸ", true}, {"a b", "a\u00a0b", true}, {"ü", "u\u0308", true}, {"ab", "a\u00adb", true}, // prepared
		{"Ⅸ", "Ⅸ", true}, {"u\u0308", "u\u0308", true}, {"a\x07b", "a\x07b", true}, // as it is
		{"ix", "Ⅸ", false}, {"a b", "ab", false}, {"u", "ü", false},
	} {
		if v, err := h.Verify(t.Context(), made(test.hashed), test.typed); err != nil || v.OK != test.ok {
			t.Errorf("hash of %q, password %q: %+v, %v", test.hashed, test.typed, v, err)
		}
	}
}

// TestFailuresCostTheSameWithOthers: a failed login does the same work of each algorithm, whatever the account's hash.
func TestFailuresCostTheSameWithOthers(t *testing.T) {
	t.Parallel()
	h := NewHasher(HasherOptions{MemoryKiB: 64, Passes: 2})
	own, err := h.Hash(t.Context(), "right")
	if err != nil {
		t.Fatal(err)
	}
	hashes := []string{"", own, "unusable"}
	for _, v := range vectors(t) {
		if v.Password != "correct horse" { // one of each format, and none that costs a second
			continue
		}
		hashes = append(hashes, v.Hash)
		hashes = append(hashes, strings.NewReplacer("$04$", "$05$", "ln=10", "ln=9", "SCRAM-SHA-1$4096", "SCRAM-SHA-1$96", "$1000$", "$70$").Replace(v.Hash))
	}
	fail := func(hash string) (work [algorithms]uint64) {
		h.onHash = func(c cost) { work[c.by] += c.work }
		if v, err := h.Verify(t.Context(), hash, "wrong"); v.OK || err != nil && !errors.Is(err, ErrHashUnusable) {
			t.Errorf("Verify of a wrong password = %+v, %v", v, err)
		}
		return work
	}
	if before := fail(""); before != [algorithms]uint64{argon2Blocks: 128} {
		t.Errorf("without hashes of other servers, a failed login costs %v", before)
	}
	for _, hash := range hashes { // the costliest ones
		fail(hash)
	}
	want := fail("")
	for by, work := range want {
		if work == 0 {
			t.Errorf("an unknown account does no work of algorithm %d", by)
		}
	}
	for _, hash := range hashes {
		got := fail(hash)
		for by, work := range got {
			if least := want[by] - want[by]/50; work < least || work > want[by]+want[by]/50 {
				t.Errorf("%s: work of algorithm %d is %d, want %d", hash, by, work, want[by])
			}
		}
	}
}

func FuzzParseHash(f *testing.F) {
	file, err := os.ReadFile("testdata/hashes/vectors.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		var v vector
		if json.Unmarshal([]byte(line), &v) == nil {
			f.Add(v.Hash)
		}
	}
	own := params{memoryKiB: 19 << 10, passes: 2, lanes: 1}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s, own)
		if err != nil {
			if !errors.Is(err, ErrHashUnusable) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if c := h.cost(); c.work == 0 || c.memory > 130<<20 {
			t.Errorf("%q costs %+v", s, c)
		}
	})
}
