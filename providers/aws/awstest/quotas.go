package awstest

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// SetQuota makes a quota of the account, by its code, so large; it is 1,000 without. A negative one there is not.
func (c *Cloud) SetQuota(code string, value float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quotas[code] = value
}

// quota answers what Service Quotas is asked, of which moto has hardly any. moto says whether it may be asked.
func (c *Cloud) quota(req *http.Request, r *Request) answer {
	told := func(status int, code string, body any) answer {
		text, _ := json.Marshal(body)
		return answer{status: status, code: code, kind: "application/x-amz-json-1.1", body: text}
	}
	if a := c.worded(r, c.forward(req, r.body)); a.code == "AccessDenied" {
		return told(http.StatusBadRequest, "AccessDeniedException", map[string]string{"__type": "AccessDeniedException", "Message": "not authorized to perform: servicequotas:" + r.Action})
	}
	var in struct{ ServiceCode, QuotaCode string }
	if err := json.Unmarshal(r.body, &in); err != nil {
		return told(http.StatusBadRequest, "SerializationException", map[string]string{"__type": "SerializationException", "Message": err.Error()})
	}
	c.mu.Lock()
	value, set := c.quotas[in.QuotaCode]
	c.mu.Unlock()
	if set && value < 0 {
		return told(http.StatusBadRequest, "NoSuchResourceException", map[string]string{"__type": "NoSuchResourceException", "Message": fmt.Sprintf("no quota %s/%s", in.ServiceCode, in.QuotaCode)})
	}
	if !set {
		value = 1000
	}
	return told(http.StatusOK, "", map[string]any{"Quota": map[string]any{"ServiceCode": in.ServiceCode, "QuotaCode": in.QuotaCode, "QuotaName": in.QuotaCode, "Value": value}})
}
