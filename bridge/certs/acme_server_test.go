package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

// acmeServer is an ACME authority (RFC 8555) with the checks that can reveal faults of the client: nonces are used
// once, every request is signed by a known account, and a domain is certified only after its server has proved
// control of it by tls-alpn-01 (RFC 8737).
type acmeServer struct {
	*httptest.Server
	t  *testing.T
	ca *authority

	mu       sync.Mutex // guards the fields below
	target   string     // address of all domains
	nonces   map[string]bool
	accounts map[string]*acmeAccount // by URL
	orders   []*acmeOrder
}

type acmeAccount struct {
	key     *ecdsa.PublicKey
	contact []string
}

type acmeOrder struct {
	account *acmeAccount
	domain  string
	token   string
	status  string // of the order
	authz   string // of its only authorization
	problem string
	cert    []byte
}

// acmeRequest is a verified request.
type acmeRequest struct {
	url     string
	account *acmeAccount
	payload []byte
}

func newACMEServer(t *testing.T) *acmeServer {
	t.Helper()
	a := &acmeServer{t: t, ca: newAuthority(t), nonces: map[string]bool{}, accounts: map[string]*acmeAccount{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /directory", func(w http.ResponseWriter, _ *http.Request) {
		a.reply(w, http.StatusOK, map[string]any{
			"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/order",
			"revokeCert": a.URL + "/revoke", "keyChange": a.URL + "/key",
			"meta": map[string]any{"termsOfService": a.URL + "/terms"},
		})
	})
	mux.HandleFunc("HEAD /nonce", func(w http.ResponseWriter, _ *http.Request) { a.reply(w, http.StatusOK, nil) })
	mux.HandleFunc("POST /account", a.signed(a.newAccount))
	mux.HandleFunc("POST /order", a.signed(a.newOrder))
	mux.HandleFunc("POST /order/{n}", a.signed(a.withOrder(a.showOrder)))
	mux.HandleFunc("POST /authz/{n}", a.signed(a.withOrder(a.showAuthz)))
	mux.HandleFunc("POST /challenge/{n}", a.signed(a.withOrder(a.challenge)))
	mux.HandleFunc("POST /finalize/{n}", a.signed(a.withOrder(a.finalize)))
	mux.HandleFunc("POST /cert/{n}", a.signed(a.withOrder(a.download)))
	a.Server = httptest.NewUnstartedServer(mux)
	a.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

// trust returns the roots for requests to this server, which differ from the roots of the certificates that it issues.
func (a *acmeServer) trust() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return pool
}

func (a *acmeServer) lead(target string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = target
}

func (a *acmeServer) orderCount() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.orders)
}

func (a *acmeServer) reply(w http.ResponseWriter, status int, body any) {
	nonce := rand.Text()
	a.mu.Lock()
	a.nonces[nonce] = true
	a.mu.Unlock()
	w.Header().Set("Replay-Nonce", nonce)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (a *acmeServer) refuse(w http.ResponseWriter, problem string, err error) {
	a.reply(w, http.StatusBadRequest, map[string]string{"type": "urn:ietf:params:acme:error:" + problem, "detail": err.Error()})
}

// signed verifies the JWS of a request before it calls the handler.
func (a *acmeServer) signed(handle func(http.ResponseWriter, *http.Request, acmeRequest)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		request, err := a.verify(r)
		if err != nil {
			a.t.Errorf("%s: %v", r.URL.Path, err)
			a.refuse(w, "malformed", err)
			return
		}
		handle(w, r, request)
	}
}

func (a *acmeServer) verify(r *http.Request) (acmeRequest, error) {
	var jws struct{ Protected, Payload, Signature string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		return acmeRequest{}, err
	}
	raw := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			a.t.Error(err)
		}
		return b
	}
	var header struct {
		Alg, Nonce, URL, Kid string
		JWK                  *struct{ Kty, Crv, X, Y string }
	}
	if err := json.Unmarshal(raw(jws.Protected), &header); err != nil {
		return acmeRequest{}, err
	}
	request := acmeRequest{url: header.URL, payload: raw(jws.Payload)}
	a.mu.Lock()
	known := a.nonces[header.Nonce]
	delete(a.nonces, header.Nonce)
	request.account = a.accounts[header.Kid]
	a.mu.Unlock()
	if header.JWK != nil && r.URL.Path == "/account" {
		point := slices.Concat([]byte{4}, raw(header.JWK.X), raw(header.JWK.Y))
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return acmeRequest{}, err
		}
		request.account = &acmeAccount{key: key}
	}
	switch {
	case !known:
		return acmeRequest{}, errors.New("the nonce is not one of ours")
	case header.URL != a.URL+r.URL.Path:
		return acmeRequest{}, fmt.Errorf("signed for %s", header.URL)
	case request.account == nil:
		return acmeRequest{}, fmt.Errorf("no account %q", header.Kid)
	}
	digest := sha256.Sum256([]byte(jws.Protected + "." + jws.Payload))
	signature := raw(jws.Signature)
	if header.Alg != "ES256" || len(signature) != 64 ||
		!ecdsa.Verify(request.account.key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return acmeRequest{}, errors.New("the signature is wrong")
	}
	return request, nil
}

func (a *acmeServer) newAccount(w http.ResponseWriter, _ *http.Request, r acmeRequest) {
	var body struct {
		TermsOfServiceAgreed bool
		Contact              []string
	}
	if err := json.Unmarshal(r.payload, &body); err != nil || !body.TermsOfServiceAgreed {
		a.refuse(w, "userActionRequired", errors.New("the terms are not agreed to"))
		return
	}
	status := http.StatusCreated
	a.mu.Lock()
	url := ""
	for known, account := range a.accounts {
		if account.key.Equal(r.account.key) {
			url, status = known, http.StatusOK
		}
	}
	if url == "" {
		url = fmt.Sprintf("%s/account/%d", a.URL, len(a.accounts))
		r.account.contact = body.Contact
		a.accounts[url] = r.account
	}
	a.mu.Unlock()
	w.Header().Set("Location", url)
	a.reply(w, status, map[string]any{"status": "valid", "contact": body.Contact})
}

func (a *acmeServer) newOrder(w http.ResponseWriter, _ *http.Request, r acmeRequest) {
	var body struct {
		Identifiers []struct{ Type, Value string }
	}
	if err := json.Unmarshal(r.payload, &body); err != nil || len(body.Identifiers) != 1 || body.Identifiers[0].Type != "dns" {
		a.refuse(w, "malformed", fmt.Errorf("identifiers %v, %v", body.Identifiers, err))
		return
	}
	a.mu.Lock()
	n := len(a.orders)
	order := &acmeOrder{account: r.account, domain: body.Identifiers[0].Value, token: rand.Text(), status: "pending", authz: "pending"}
	a.orders = append(a.orders, order)
	a.mu.Unlock()
	w.Header().Set("Location", fmt.Sprintf("%s/order/%d", a.URL, n))
	a.writeOrder(w, http.StatusCreated, n, order)
}

// withOrder finds the order at the end of a URL and checks that it belongs to the account.
func (a *acmeServer) withOrder(handle func(http.ResponseWriter, acmeRequest, int, *acmeOrder)) func(http.ResponseWriter, *http.Request, acmeRequest) {
	return func(w http.ResponseWriter, r *http.Request, request acmeRequest) {
		var n int
		_, err := fmt.Sscan(r.PathValue("n"), &n)
		a.mu.Lock()
		var order *acmeOrder
		if err == nil && n >= 0 && n < len(a.orders) && a.orders[n].account == request.account {
			order = a.orders[n]
		}
		a.mu.Unlock()
		if order == nil {
			a.refuse(w, "unauthorized", errors.New("no such order of this account"))
			return
		}
		handle(w, request, n, order)
	}
}

func (a *acmeServer) showOrder(w http.ResponseWriter, _ acmeRequest, n int, order *acmeOrder) {
	a.writeOrder(w, http.StatusOK, n, order)
}

func (a *acmeServer) writeOrder(w http.ResponseWriter, status, n int, order *acmeOrder) {
	a.mu.Lock()
	body := map[string]any{
		"status":         order.status,
		"identifiers":    []any{map[string]string{"type": "dns", "value": order.domain}},
		"authorizations": []string{fmt.Sprintf("%s/authz/%d", a.URL, n)},
		"finalize":       fmt.Sprintf("%s/finalize/%d", a.URL, n),
	}
	if order.cert != nil {
		body["certificate"] = fmt.Sprintf("%s/cert/%d", a.URL, n)
	}
	a.mu.Unlock()
	a.reply(w, status, body)
}

func (a *acmeServer) showAuthz(w http.ResponseWriter, _ acmeRequest, n int, order *acmeOrder) {
	a.mu.Lock()
	challenge := map[string]any{
		"type": "tls-alpn-01", "token": order.token, "status": order.authz,
		"url": fmt.Sprintf("%s/challenge/%d", a.URL, n),
	}
	if order.problem != "" {
		challenge["error"] = map[string]string{"type": "urn:ietf:params:acme:error:unauthorized", "detail": order.problem}
	}
	body := map[string]any{
		"status":     order.authz,
		"identifier": map[string]string{"type": "dns", "value": order.domain},
		"challenges": []any{challenge},
	}
	a.mu.Unlock()
	a.reply(w, http.StatusOK, body)
}

func (a *acmeServer) challenge(w http.ResponseWriter, _ acmeRequest, n int, order *acmeOrder) {
	a.mu.Lock()
	target := a.target
	a.mu.Unlock()
	err := a.validate(target, order)
	a.mu.Lock()
	order.status, order.authz = "ready", "valid"
	if err != nil {
		order.status, order.authz, order.problem = "invalid", "invalid", err.Error()
	}
	status := order.authz
	a.mu.Unlock()
	a.reply(w, http.StatusOK, map[string]string{
		"type": "tls-alpn-01", "token": order.token, "status": status, "url": fmt.Sprintf("%s/challenge/%d", a.URL, n),
	})
}

// validate connects to the address of the domain and checks the proof.
func (a *acmeServer) validate(target string, order *acmeOrder) error {
	thumbprint, err := acme.JWKThumbprint(order.account.key)
	if err != nil {
		return err
	}
	conn, err := tls.Dial("tcp", target, &tls.Config{ServerName: order.domain, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", order.domain, err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	cert := state.PeerCertificates[0]
	if state.NegotiatedProtocol != "acme-tls/1" || !slices.Equal(cert.DNSNames, []string{order.domain}) {
		return fmt.Errorf("protocol %q, names %q", state.NegotiatedProtocol, cert.DNSNames)
	}
	sum := sha256.Sum256([]byte(order.token + "." + thumbprint))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		return err
	}
	for _, extension := range cert.Extensions {
		if extension.Id.String() == "1.3.6.1.5.5.7.1.31" && extension.Critical && bytes.Equal(extension.Value, want) {
			return nil
		}
	}
	return errors.New("the certificate holds no proof for this account")
}

func (a *acmeServer) finalize(w http.ResponseWriter, r acmeRequest, n int, order *acmeOrder) {
	var body struct{ CSR string }
	err := json.Unmarshal(r.payload, &body)
	der, decodeErr := base64.RawURLEncoding.DecodeString(body.CSR)
	csr, parseErr := x509.ParseCertificateRequest(der)
	a.mu.Lock()
	ready := order.status == "ready"
	a.mu.Unlock()
	if err := errors.Join(err, decodeErr, parseErr); err != nil || !ready {
		a.refuse(w, "orderNotReady", fmt.Errorf("status %s, %w", order.status, err))
		return
	}
	if err := csr.CheckSignature(); err != nil || !slices.Equal(csr.DNSNames, []string{order.domain}) {
		a.refuse(w, "badCSR", fmt.Errorf("for %q: %w", strings.Join(csr.DNSNames, " "), err))
		return
	}
	cert := a.ca.sign(a.t, crypto.PublicKey(csr.PublicKey), order.domain, time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour))
	a.mu.Lock()
	order.status, order.cert = "valid", cert
	a.mu.Unlock()
	a.writeOrder(w, http.StatusOK, n, order)
}

func (a *acmeServer) download(w http.ResponseWriter, _ acmeRequest, _ int, order *acmeOrder) {
	a.mu.Lock()
	cert := order.cert
	a.mu.Unlock()
	for _, der := range [][]byte{cert, a.ca.cert.Raw} {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
}
