package subject

import (
	"strconv"
	"strings"
)

// AuditStream returns the name of the stream of the audit trail.
func (p Prefix) AuditStream() string { return strings.ToUpper(string(p)) + "_AUDIT" }

// Audit returns the subject of an entry of the audit trail. Entries of one class share the numbered subjects of the
// class.
func (p Prefix) Audit(class string, share int) string {
	return string(p) + ".audit." + class + "." + strconv.Itoa(share)
}

// AuditOf returns the filter of a class of entries of the audit trail.
func (p Prefix) AuditOf(class string) string { return string(p) + ".audit." + class + ".*" }

// AuditAll returns the filter of all entries of the audit trail.
func (p Prefix) AuditAll() string { return string(p) + ".audit.>" }
