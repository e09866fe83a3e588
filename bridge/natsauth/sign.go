package natsauth

import (
	"errors"
	"fmt"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
)

// xkeyHeader is the header of an encrypted request, with the key of the NATS server.
const xkeyHeader = "Nats-Server-Xkey"

// sign returns the answer to NATS. NATS logs the reason of a refusal, and does not send it to the client.
func (c *Callout) sign(r *jwt.AuthorizationRequestClaims, client *identity, refused error) ([]byte, error) {
	answer := jwt.NewAuthorizationResponseClaims(r.UserNkey)
	answer.Audience, answer.IssuerAccount = r.Server.ID, c.opts.Account
	if client == nil {
		answer.Error = refused.Error()
	} else {
		user := jwt.NewUserClaims(r.UserNkey)
		user.Name, user.Permissions = client.name, client.permissions
		if c.opts.Account == "" {
			user.Audience = client.account
		} else {
			user.IssuerAccount = client.account
		}
		// A leaf node would connect a whole server.
		user.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket, jwt.ConnectionTypeInProcess}
		if !client.expires.IsZero() {
			user.Expires = client.expires.Unix()
		}
		var err error
		if answer.Jwt, err = user.Encode(c.opts.Issuer); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	token, err := answer.Encode(c.opts.Issuer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if c.opts.XKey == nil || r.Server.XKey == "" {
		return []byte(token), nil
	}
	sealed, err := c.opts.XKey.Seal([]byte(token), r.Server.XKey)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed, nil
}

// decode returns the request of a NATS server, which has the server's key if it is encrypted.
func (c *Callout) decode(m *nats.Msg) (*jwt.AuthorizationRequestClaims, error) {
	data := m.Data
	if key := m.Header.Get(xkeyHeader); key != "" {
		if c.opts.XKey == nil {
			return nil, errors.New("the request is encrypted, and there is no key for it")
		}
		var err error
		if data, err = c.opts.XKey.Open(data, key); err != nil {
			return nil, fmt.Errorf("decrypt the request: %w", err)
		}
	}
	r, err := jwt.DecodeAuthorizationRequestClaims(string(data))
	if err != nil {
		return nil, fmt.Errorf("malformed request: %w", err)
	}
	return r, nil
}
