// Package pushtest has a push service in this process. Only tests import it.
package pushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"imctl/kv"
)

// Received is a message that the push service has taken, decrypted by the device.
type Received struct {
	Path, Topic, Urgency, TTL, Key string
	Body                           map[string]any
}

// Service is a push service with one device behind it. It checks each request as RFC 8030, 8291 and 8292 ask.
type Service struct {
	*httptest.Server
	t       testing.TB
	private *ecdh.PrivateKey
	secret  []byte
	Got     chan Received // messages, in the order in which they came

	mu      sync.Mutex
	answers []func(http.ResponseWriter) // of the next requests; then 201
}

// Start starts a push service that ends with the test.
func Start(t testing.TB) *Service {
	t.Helper()
	s := &Service{t: t, secret: make([]byte, 16), Got: make(chan Received, 64)}
	rand.Read(s.secret)
	var err error
	if s.private, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

// Roots returns what verifies the certificate of the service.
func (s *Service) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

// Subscription returns the subscription of the device with that path.
func (s *Service) Subscription(path string, text bool) kv.PushSubscription {
	encode := base64.RawURLEncoding.EncodeToString
	return kv.PushSubscription{Endpoint: s.URL + path, P256dh: encode(s.private.PublicKey().Bytes()), Auth: encode(s.secret), Text: text, Language: "de", Login: time.Now()}
}

// Next answers the next request.
func (s *Service) Next(answer func(http.ResponseWriter)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, answer)
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "aes128gcm" || len(body) > 4096 {
		s.t.Errorf("request %s with %d bytes in %s, %v", r.Method, len(body), r.Header.Get("Content-Encoding"), err)
	}
	h := r.Header
	got := Received{Path: r.URL.Path, Topic: h.Get("Topic"), Urgency: h.Get("Urgency"), TTL: h.Get("TTL"), Key: s.checkVAPID(h.Get("Authorization"))}
	plain, err := s.decrypt(body)
	if err == nil {
		err = json.Unmarshal(plain, &got.Body)
	}
	if err != nil {
		s.t.Errorf("decrypt a message: %v", err)
	}
	s.mu.Lock()
	var answer func(http.ResponseWriter)
	if len(s.answers) > 0 {
		answer, s.answers = s.answers[0], s.answers[1:]
	}
	s.mu.Unlock()
	if answer != nil {
		answer(w)
	} else {
		w.WriteHeader(http.StatusCreated)
	}
	s.Got <- got
}

// checkVAPID verifies the token of RFC 8292, and returns the key.
func (s *Service) checkVAPID(header string) string {
	token, key, _ := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	parts := strings.Split(token, ".")
	public, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil || len(parts) != 3 || len(public) != 65 {
		s.t.Errorf("authorization %q", header)
		return ""
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		s.t.Errorf("signature: %v", err)
		return ""
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	point, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), public)
	if err != nil || !ecdsa.Verify(point, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		s.t.Error("the signature is wrong")
	}
	var claims struct {
		Aud, Sub string
		Exp      int64
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if left := time.Until(time.Unix(claims.Exp, 0)); err != nil || claims.Aud != s.URL || claims.Sub != "mailto:admin@example.org" || left <= 0 || left > 24*time.Hour {
		s.t.Errorf("claims %+v, %v", claims, err)
	}
	return key
}

// decrypt decrypts a message as RFC 8291 and 8188 say.
func (s *Service) decrypt(body []byte) ([]byte, error) {
	if len(body) < 86 || body[20] != 65 {
		return nil, fmt.Errorf("a header of %d bytes", len(body))
	}
	salt, sender, data := body[:16], body[21:86], body[86:]
	peer, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		return nil, err
	}
	shared, err := s.private.ECDH(peer)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(s.private.PublicKey().Bytes()) + string(sender)
	ikm, err := hkdf.Key(sha256.New, shared, s.secret, info, 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := gcm.Open(nil, nonce, data, nil)
	return []byte(strings.TrimSuffix(strings.TrimRight(string(plain), "\x00"), "\x02")), err
}

// Receive waits for the next message.
func (s *Service) Receive() Received {
	s.t.Helper()
	select {
	case r := <-s.Got:
		return r
	case <-time.After(30 * time.Second):
		s.t.Fatal("no message has come")
		return Received{}
	}
}

// Quiet fails the test if a message has come.
func (s *Service) Quiet() {
	s.t.Helper()
	select {
	case r := <-s.Got:
		s.t.Errorf("a message has come: %+v", r)
	default:
	}
}
