#include "fetchers/aws/aws_region.h"

#include <stddef.h>
#include <string.h>

#include "base/util.h"

/* The last one serves all other regions. */
static const struct partition {
	const char *arn_prefix, *region_prefix, *region, *domain;
} partitions[] = {
	{ "arn:aws-cn:", "cn-", "cn-north-1", "amazonaws.com.cn" },
	{ "arn:aws-us-gov:", "us-gov-", "us-gov-west-1", "amazonaws.com" },
	{ "arn:aws-iso:", "us-iso-", "us-iso-east-1", "c2s.ic.gov" },
	{ "arn:aws-iso-b:", "us-isob-", "us-isob-east-1", "sc2s.sgov.gov" },
	{ "arn:aws-iso-f:", "us-isof-", "us-isof-south-1", "csp.hci.ic.gov" },
	{ "arn:aws-iso-e:", "eu-isoe-", "eu-isoe-west-1", "cloud.adc-e.uk" },
	{ "arn:aws-eusc:", "eusc-", "eusc-de-east-1", "amazonaws.eu" },
	{ "", "", "us-east-1", "amazonaws.com" },
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

const char *aws_domain(const char *region)
{
	size_t i = 0;

	while (!has_prefix(region, partitions[i].region_prefix))
		i++;
	return partitions[i].domain;
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
