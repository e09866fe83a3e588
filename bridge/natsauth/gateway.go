package natsauth

import (
	"fmt"
	"regexp"

	"github.com/nats-io/jwt/v2"

	"imctl/bridge/subject"
	"imctl/kv"
)

// gatewayPermissions let a gateway register and use its own users through the server, and take what the server relays to
// them. It answers each dialogue once.
func gatewayPermissions(p subject.Prefix, name, inbox string) jwt.Permissions {
	return jwt.Permissions{
		Pub:  jwt.Permission{Allow: p.GatewayPublish(name)},
		Sub:  jwt.Permission{Allow: append(p.GatewaySubscribe(name), inbox)},
		Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: answerTime},
	}
}

// gatewayAccounts matches the accounts that a gateway may register. Letters of other scripts could look alike.
var gatewayAccounts = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,31}\*$`)

// checkGateway returns an error for accounts that a gateway must not have. Another role must have none. The store checks
// that two gateways have none in common.
func checkGateway(a kv.Attachment) error {
	if a.Role != kv.RoleGateway {
		if a.Accounts != "" || a.MaxUsers != 0 {
			return fmt.Errorf("%w: only the role %s has accounts", kv.ErrAttachmentInvalid, kv.RoleGateway)
		}
		return nil
	}
	if !gatewayAccounts.MatchString(a.Accounts) {
		return fmt.Errorf("%w: the accounts %q must be 2 to 32 letters, digits, dots, - or _, and a star: use matrix_*, for instance", kv.ErrAttachmentInvalid, a.Accounts)
	}
	if a.MaxUsers < 0 {
		return fmt.Errorf("%w: the number of users must not be negative", kv.ErrAttachmentInvalid)
	}
	return nil
}
