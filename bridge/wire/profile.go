package wire

// ProfileFields are the fields of a profile that its user sets. The record of an account has the same fields (kv.Profile): Go
// converts one to the other. A new field is added to both, and to profileFields.
type ProfileFields struct {
	Name     string `json:"name"`
	Picture  string `json:"picture"`
	Sex      string `json:"sex"`
	Birthday string `json:"birthday"`
	Sign     string `json:"sign"`
}

// profileFields declare the fields of a profile, in the order of the JSON.
var profileFields = []struct {
	Field
	of func(*ProfileFields) *string
}{
	{Field{Name: "name", Max: MaxName}, func(p *ProfileFields) *string { return &p.Name }},
	{Field{Name: "picture", Kind: Picture}, func(p *ProfileFields) *string { return &p.Picture }},
	{Field{Name: "sex", Max: MaxSex}, func(p *ProfileFields) *string { return &p.Sex }},
	{Field{Name: "birthday", Max: MaxBirthday}, func(p *ProfileFields) *string { return &p.Birthday }},
	{Field{Name: "sign", Kind: Lines, Max: MaxSign}, func(p *ProfileFields) *string { return &p.Sign }},
}

// profileKeys are the beginnings of the fields in JSON: `,"name":`.
var profileKeys = func() (keys []string) {
	for _, f := range profileFields {
		keys = append(keys, `,"`+f.Name+`":`)
	}
	return keys
}()

// ProfileDeclaration returns the fields of a profile, for the declaration of a call that sets them.
func ProfileDeclaration() (fields []Field) {
	for _, f := range profileFields {
		fields = append(fields, f.Field)
	}
	return fields
}

// SetProfile sets the fields of a profile that a call gives.
func (v Values) SetProfile(p *ProfileFields) {
	for _, f := range profileFields {
		if s, given := v.Lookup(f.Name); given {
			*f.of(p) = s
		}
	}
}

// A Profile is the public part of an account.
type Profile struct {
	ID string `json:"id"`
	ProfileFields
}

// Append appends the profile to dst as a JSON object.
func (p Profile) Append(dst []byte) []byte {
	dst = append(dst, '{')
	dst = p.appendKeys(dst)
	return append(dst, '}')
}

func (p *Profile) appendKeys(dst []byte) []byte {
	dst = appendKey(dst, `"id":`, p.ID)
	for i := range profileFields {
		dst = appendKey(dst, profileKeys[i], *profileFields[i].of(&p.ProfileFields))
	}
	return dst
}
