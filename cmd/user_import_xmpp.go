package cmd

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"imctl/bridge/admin"
	"imctl/kv"
)

// The XML namespaces of XEP-0227, and of the data that it contains.
const (
	nsXEP0227 = "urn:xmpp:pie:0"
	nsSCRAM   = "urn:xmpp:pie:0#scram"
	nsRoster  = "jabber:iq:roster"
	nsVCard   = "vcard-temp"
	nsClient  = "jabber:client"
	nsInclude = "http://www.w3.org/2001/XInclude"
)

const (
	// xmlDepth bounds the depth of elements.
	xmlDepth = 64
	// xmlToken bounds the bytes of one token: the text of an element that is not imported, such as a photo, may be large.
	xmlToken = 16 << 20
)

// xmppReader reads an export of an XMPP server in the format of XEP-0227 element by element.
type xmppReader struct {
	*xml.Decoder
	bounded *boundedReader
	source  *importSource
	depth   int
}

// readXEP0227 reads a user from each element of that name, with its roster, vCard and pending requests. It skips
// everything else.
func readXEP0227(in *bufio.Reader, s *importSource, yield func(importEntry) error) error {
	r := &xmppReader{bounded: &boundedReader{in, s.longestToken()}, source: s}
	r.Decoder = xml.NewDecoder(r.bounded) // it knows no entities but those of XML itself
	err := r.hosts(yield)
	var syntax *xml.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return yield(invalid(syntax.Line, "not valid XML: %s; the rest of the file is not read", syntax.Msg))
	case errors.Is(err, errEntryTooLong), errors.Is(err, errXML):
		line, _ := r.InputPos()
		return yield(invalid(line, "%v; the rest of the file is not read", err))
	}
	return err
}

// errXML: the XML has a part that an export must not have.
var errXML = errors.New("not an export in the format of XEP-0227")

// longestToken returns how many bytes a token of XML may have.
func (s *importSource) longestToken() int { return cmp.Or(s.token, xmlToken) }

// next returns the next token, within the bounds.
func (r *xmppReader) next() (xml.Token, error) {
	r.bounded.left = r.source.longestToken()
	t, err := r.Token()
	switch t.(type) {
	case xml.StartElement:
		if r.depth++; r.depth > xmlDepth {
			return nil, fmt.Errorf("%w: more than %d elements inside each other", errXML, xmlDepth)
		}
	case xml.EndElement:
		r.depth--
	case xml.Directive:
		return nil, fmt.Errorf("%w: it has a document type", errXML)
	}
	return t, err
}

// children calls do for each element inside the current one, which do reads to its end. text, if it is not nil, gets the
// text of the current one.
func (r *xmppReader) children(text *strings.Builder, do func(xml.StartElement) error) error {
	for {
		t, err := r.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := do(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		case xml.CharData:
			if text != nil {
				if text.Len()+len(t) > r.source.most {
					return errEntryTooLong
				}
				text.Write(t)
			}
		}
	}
}

// skip reads to the end of an element.
func (r *xmppReader) skip(xml.StartElement) error { return r.children(nil, r.skip) }

// text returns the text of an element.
func (r *xmppReader) text() (string, error) {
	var b strings.Builder
	err := r.children(&b, r.skip)
	return strings.TrimSpace(b.String()), err
}

// attribute returns an attribute without a namespace, or "".
func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// hosts reads the document: server-data with hosts, or one host.
func (r *xmppReader) hosts(yield func(importEntry) error) error {
	for {
		t, err := r.next()
		if errors.Is(err, io.EOF) && r.depth == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := t.(xml.StartElement)
		switch {
		case !ok:
		case e.Name == xml.Name{Space: nsXEP0227, Local: "server-data"}:
			err = r.children(nil, func(e xml.StartElement) error { return r.host(e, yield) })
		default:
			err = r.host(e, yield)
		}
		if err != nil {
			return err
		}
	}
}

func (r *xmppReader) host(e xml.StartElement, yield func(importEntry) error) error {
	line, _ := r.InputPos()
	switch {
	case e.Name == xml.Name{Space: nsInclude, Local: "include"}:
		if len(r.source.files) > 1 {
			return r.skip(e) // the directory has the file
		}
		if err := yield(invalid(line, "the users are in %s: import the directory that the server exported to", printable(attribute(e, "href")))); err != nil {
			return err
		}
		return r.skip(e)
	case e.Name != xml.Name{Space: nsXEP0227, Local: "host"}:
		return fmt.Errorf("%w: element %s", errXML, printable(e.Name.Local))
	}
	host := attribute(e, "jid")
	if r.source.host == "" {
		r.source.host = host
	}
	if !strings.EqualFold(host, r.source.host) {
		skipped := 0
		err := r.children(nil, func(e xml.StartElement) error { skipped++; return r.skip(e) })
		if err != nil || skipped == 0 {
			return err
		}
		return yield(importEntry{at: place{line: line}, skipped: map[string]int{"of another host (see --host)": skipped}})
	}
	return r.children(nil, func(e xml.StartElement) error {
		if e.Name != (xml.Name{Space: nsXEP0227, Local: "user"}) {
			return r.skip(e)
		}
		u := xmppUser{host: host}
		u.at.line, _ = r.InputPos()
		u.skipped = make(map[string]int)
		before := r.InputOffset()
		if err := r.user(e, &u); err != nil {
			return err
		}
		u.size = min(int(r.InputOffset()-before), r.source.most)
		return yield(u.importEntry)
	})
}

// xmppUser is the entry of a user.
type xmppUser struct {
	importEntry
	host  string
	scram kv.SCRAM
}

func (r *xmppReader) user(e xml.StartElement, u *xmppUser) error {
	u.Account = unescapeNode(attribute(e, "name"))
	u.Password = attribute(e, "password")
	err := r.children(nil, func(e xml.StartElement) error {
		switch e.Name {
		case xml.Name{Space: nsSCRAM, Local: "scram-credentials"}:
			return r.credentials(u)
		case xml.Name{Space: nsRoster, Local: "query"}:
			return r.children(nil, func(e xml.StartElement) error {
				u.rosterItem(e)
				return r.skip(e)
			})
		case xml.Name{Space: nsVCard, Local: "vCard"}:
			return r.vCard(u)
		case xml.Name{Space: nsClient, Local: "presence"}, xml.Name{Space: nsXEP0227, Local: "presence"}:
			if account, ok := u.local(attribute(e, "from")); ok && attribute(e, "type") == "subscribe" {
				u.Requests = append(u.Requests, admin.RecordRequest{Account: account})
			}
			return r.skip(e)
		default:
			u.skipped[printable(e.Name.Local)]++
			return r.skip(e)
		}
	})
	if u.scram.StoredKey != nil {
		u.PasswordHash, u.Password = u.scram.String(), ""
	}
	return err
}

// rosterItem adds a contact. Friends of imctl are mutual, as those with a subscription in both directions are.
func (u *xmppUser) rosterItem(e xml.StartElement) {
	subscription, asked := attribute(e, "subscription"), attribute(e, "ask") == "subscribe"
	account, ok := u.local(attribute(e, "jid"))
	switch {
	case !ok:
		u.skipped["contact on another server"]++
	case subscription == "both":
		u.Friends = append(u.Friends, admin.RecordFriend{Account: account, Alias: attribute(e, "name")})
	case asked:
		u.Asked = append(u.Asked, admin.RecordRequest{Account: account})
	default:
		u.skipped["contact in one direction"]++
	}
}

// local returns the account of a JID, if it is of the user's host.
func (u *xmppUser) local(jid string) (account string, ok bool) {
	jid, _, _ = strings.Cut(jid, "/")
	node, host, found := strings.Cut(jid, "@")
	return unescapeNode(node), found && strings.EqualFold(host, u.host)
}

// unescapeNode undoes the escapes of XEP-0106.
func unescapeNode(node string) string { return nodeEscapes.Replace(node) }

var nodeEscapes = strings.NewReplacer(`\20`, " ", `\22`, `"`, `\26`, "&", `\27`, "'", `\2f`, "/", `\3a`, ":", `\3c`, "<", `\3e`, ">", `\40`, "@", `\5c`, `\`)

// vCard takes the name, the address, the birthday and the description. The nickname is what other users are shown.
func (r *xmppReader) vCard(u *xmppUser) error {
	var nickname, full string
	fields := map[string]*string{"NICKNAME": &nickname, "FN": &full, "BDAY": &u.Birthday, "DESC": &u.Sign}
	err := r.children(nil, func(e xml.StartElement) (err error) {
		if to, ok := fields[e.Name.Local]; ok && *to == "" {
			*to, err = r.text()
			return err
		}
		if e.Name.Local != "EMAIL" || u.Mail != "" {
			return r.skip(e)
		}
		return r.children(nil, func(e xml.StartElement) (err error) {
			if e.Name.Local != "USERID" {
				return r.skip(e)
			}
			u.Mail, err = r.text()
			return err
		})
	})
	if u.Name = nickname; u.Name == "" {
		u.Name = full
	}
	return err
}

// credentials reads credentials of SCRAM, of which it keeps the ones with the longest key.
func (r *xmppReader) credentials(u *xmppUser) error {
	var s kv.SCRAM
	problem := ""
	err := r.children(nil, func(e xml.StartElement) error {
		text, err := r.text()
		if err != nil {
			return err
		}
		switch e.Name.Local {
		case "iter-count":
			if s.Iterations, err = strconv.Atoi(text); err != nil {
				problem = "iter-count is not a number"
			}
		case "salt":
			s.Salt, err = base64.StdEncoding.DecodeString(text)
		case "stored-key":
			s.StoredKey, err = base64.StdEncoding.DecodeString(text)
		case "server-key":
			s.ServerKey, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil && problem == "" {
			problem = e.Name.Local + " is not base64"
		}
		return nil
	})
	if problem == "" {
		s, problem = plainKeys(s)
	}
	if err == nil && problem != "" && u.err == nil {
		u.err = errors.New("password_hash: " + problem)
	}
	if len(s.StoredKey) > len(u.scram.StoredKey) {
		u.scram = s
	}
	return err
}

// plainKeys checks the sizes of the keys, which tell the hash function: Prosody's migrator names SHA-1 for every key.
// ejabberd encodes salt and keys in base64 twice, which plainKeys undoes.
func plainKeys(s kv.SCRAM) (_ kv.SCRAM, problem string) {
	size := func(key []byte) bool { return len(key) == 20 || len(key) == 32 || len(key) == 64 }
	if !size(s.StoredKey) || len(s.StoredKey) != len(s.ServerKey) {
		for _, part := range []*[]byte{&s.Salt, &s.StoredKey, &s.ServerKey} {
			plain, err := base64.StdEncoding.DecodeString(string(*part))
			if err != nil {
				return kv.SCRAM{}, "credentials of SCRAM with keys of an unknown size"
			}
			*part = plain
		}
	}
	if !size(s.StoredKey) || len(s.StoredKey) != len(s.ServerKey) {
		return kv.SCRAM{}, "credentials of SCRAM with keys of an unknown size"
	}
	return s, ""
}
