#include "fetchers/aws/aws_region.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

/* dualstack_domain: of the dual-stack hosts of services other than S3. The last partition has all
 * other regions. */
static const struct partition {
	const char *arn_prefix, *region_prefix, *region, *domain, *dualstack_domain;
	bool is_always_fips; /* every host of the token service is a FIPS endpoint */
} partitions[] = {
	{ "arn:aws-cn:", "cn-", "cn-north-1", "amazonaws.com.cn", "api.amazonwebservices.com.cn",
	  false },
	{ "arn:aws-us-gov:", "us-gov-", "us-gov-west-1", "amazonaws.com", "api.aws", true },
	{ "arn:aws-iso:", "us-iso-", "us-iso-east-1", "c2s.ic.gov", "api.aws.ic.gov", false },
	{ "arn:aws-iso-b:", "us-isob-", "us-isob-east-1", "sc2s.sgov.gov", "api.aws.scloud",
	  false },
	{ "arn:aws-iso-f:", "us-isof-", "us-isof-south-1", "csp.hci.ic.gov", "api.aws.hci.ic.gov",
	  false },
	{ "arn:aws-iso-e:", "eu-isoe-", "eu-isoe-west-1", "cloud.adc-e.uk",
	  "api.cloud-aws.adc-e.uk", false },
	{ "arn:aws-eusc:", "eusc-", "eusc-de-east-1", "amazonaws.eu", "api.amazonwebservices.eu",
	  false },
	{ "", "", "us-east-1", "amazonaws.com", "api.aws", false },
};

static bool has_prefix(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool aws_is_region(const char *region)
{
	size_t len = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return len > 0 && len < AWS_REGION_SIZE && !region[len] && region[0] != '-' &&
	       region[len - 1] != '-';
}

static const struct partition *partition_of(const char *region)
{
	size_t i = 0;

	while (!has_prefix(region, partitions[i].region_prefix))
		i++;
	return &partitions[i];
}

const char *aws_domain(const char *region)
{
	return partition_of(region)->domain;
}

const char *aws_sts_host(const char *region, bool is_fips, bool is_dualstack,
			 char ret[AWS_STS_HOST_SIZE])
{
	const struct partition *partition = partition_of(region);
	bool has_own = is_fips && (is_dualstack || !partition->is_always_fips);

	snprintf(ret, AWS_STS_HOST_SIZE, "sts%s.%s.%s", has_own ? "-fips" : "", region,
		 is_dualstack ? partition->dualstack_domain : partition->domain);
	return ret;
}

const char *aws_region_of_arn(const char *arn)
{
	size_t i = 0;

	while (!has_prefix(arn, partitions[i].arn_prefix))
		i++;
	return partitions[i].region;
}

bool aws_is_host(const char *host)
{
	size_t len = strcspn(host, ":");

	for (size_t i = 0; i < ARRAY_SIZE(partitions); i++) {
		size_t domain_len = strlen(partitions[i].domain);
		if (len > domain_len && host[len - domain_len - 1] == '.' &&
		    memcmp(host + len - domain_len, partitions[i].domain, domain_len) == 0)
			return true;
	}
	return false;
}
